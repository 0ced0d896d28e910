"""A preflight: what to put right before adversarial training starts."""

from lightly_adv.doctor.checks import CHECKS as CHECKS
from lightly_adv.doctor.diagnose import START as START
from lightly_adv.doctor.diagnose import diagnose as diagnose
from lightly_adv.doctor.failures import SkipError as SkipError
from lightly_adv.doctor.findings import Diagnosis as Diagnosis
from lightly_adv.doctor.findings import Finding as Finding
from lightly_adv.doctor.patient import Patient as Patient
from lightly_adv.doctor.random_images import RandomImages as RandomImages
from lightly_adv.doctor.visit import Check as Check
