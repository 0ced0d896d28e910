from __future__ import annotations

from tests import methods_zoo
from tests.methods_zoo import table

# As in Lightly's documentation.
DOCUMENTED = """
AIM, Barlow Twins, BYOL, CAPI, DCL, DCLW, DenseCL, DetConS, DetConB, DINO, DINOv2,
FastSiam, FDA, FroSSL, iBOT, I-JEPA, LeJEPA, MAE, MMCR, MoCo, MSN, NNCLR, Pixio, PMSN,
SimCLR, SimMIM, SimSiam, SMoG, SwAV, SwAV with queue, TiCo, VICReg, VICRegL
"""


def test_there_is_a_replica_of_every_method() -> None:
    names = [each.name for each in methods_zoo.METHODS]
    assert len(set(names)) == len(names)
    assert set(names) == set(" ".join(DOCUMENTED.split()).split(", "))


def test_the_tables_in_the_documentation_are_up_to_date() -> None:
    page = table.PAGE.read_text()
    assert table.embedded(page) == page, "run: python -m tests.methods_zoo.table"


def test_every_method_has_a_page() -> None:
    folder = table.PAGE.parent
    pages = {folder / table.page(each.name) for each in methods_zoo.METHODS}
    assert pages <= set((folder / "methods").glob("*.md"))
    for each in methods_zoo.METHODS:
        text = (folder / table.page(each.name)).read_text()
        assert f"```{{method-facts}} {each.name}\n" in text
