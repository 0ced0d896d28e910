"""A module that branches on self.training, as solo-learn's MAE does (the decoder runs only in training), also stable-pretraining's recipes, detection models, masks and augmentations `if self.training`.

The attack puts ALL submodules, also the LightningModule itself, into eval mode by default (bn_mode="eval"): this crashes with an error of the module's own,
or attacks another loss (no mask, no augmentation) without a word. Right: only layers such as BatchNorm and Dropout change, or the failure names bn_mode="train".
"""
import sys, warnings, torch, pytorch_lightning as pl
from lightly_adv import PGD, AdversarialTraining, ThreatModel

SEEN = []      # outside of the module: what is in it is set aside
class Branch(pl.LightningModule):
    def __init__(self, crash):
        super().__init__(); self.crash = crash
        self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 8))
    def forward(self, x):
        out = {"feats": self.net(x)}
        if self.training: out["pred"] = self.net(x * (torch.rand(len(x), 1, 8, 8) > 0.5))        # the masked images
        return out
    def training_step(self, batch, i):
        out = self(batch); SEEN.append("pred" in out)
        z = out["pred"] if self.crash else out.get("pred", out["feats"])
        return (z - out["feats"].detach()).square().mean() + z.square().mean()
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=0.1)

def run(crash, **options):
    pl.seed_everything(0); m = Branch(crash); SEEN.clear()
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter("always")
        pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                   callbacks=[AdversarialTraining(PGD(ThreatModel(eps=8 / 255), steps=2), **options)]).fit(m, torch.utils.data.DataLoader(torch.rand(8, 3, 8, 8), batch_size=4))
    return list(SEEN), [str(x.message) for x in w if "bn_mode" in str(x.message) or "eval" in str(x.message)]

if __name__ == "__main__":
    bad = []
    print("bn_mode='train':", run(True, bn_mode="train")[0])
    try: run(True)
    except Exception as e:
        print("default:", type(e).__name__, e)
        if "bn_mode" not in str(e) and "bn_mode" not in " ".join(getattr(e, "__notes__", [])): bad.append(f"{type(e).__name__}: {e} (the module's own error; bn_mode is not named)")
    seen, said = run(False); print("silent variant, the masked branch ran in evaluations:", seen, "said:", said)
    if not all(seen) and not said: bad.append("where the module has another way in eval mode, the attack climbs that other loss silently")
    if bad: print("WRONG: modules that branch on self.training:", "; ".join(bad)); sys.exit(1)
