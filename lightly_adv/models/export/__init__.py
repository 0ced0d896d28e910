"""Networks in folders that timm loads, with a card that says what they are."""

from lightly_adv.models.export.load import ExportedModel as ExportedModel
from lightly_adv.models.export.load import load_exported as load_exported
from lightly_adv.models.export.write import export_model as export_model
