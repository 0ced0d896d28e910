"""A preflight: what to put right before adversarial training starts."""

from lightly_adv.doctor.checks import CHECKS as CHECKS
from lightly_adv.doctor.diagnose import START as START
from lightly_adv.doctor.diagnose import diagnose as diagnose
from lightly_adv.doctor.diagnosis import Diagnosis as Diagnosis
from lightly_adv.doctor.probe import Probe as Probe
from lightly_adv.doctor.random_images import RandomImages as RandomImages
