"""`lightly-adv demo`."""

from lightly_adv.cli.demo.command import run as run
