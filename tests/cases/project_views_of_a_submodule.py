"""Views that the training step itself makes under no_grad, as torchgeo's MoCoTask: two augmentations, named by views=.

Right: what the augmentations put out is attacked within eps of what they drew, and at eps 0 nothing changes.
"""
import sys, torch, pytorch_lightning as pl
from lightly_adv import PGD, AdversarialTraining, ThreatModel

class Augment(torch.nn.Module):
    def forward(self, x): return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x)

class Module(pl.LightningModule):
    def __init__(self):
        super().__init__(); self.first, self.second, self.seen = Augment(), Augment(), []
        self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2))
    def training_step(self, batch, batch_idx):
        with torch.no_grad(): x0, x1 = self.first(batch["image"]), self.second(batch["image"])
        self.seen.append(torch.stack([x0, x1]).detach().clone())
        return -torch.nn.functional.cosine_similarity(self.net(x0), self.net(x1)).mean()
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=0.1)

def run(*callbacks, mode="replace"):
    pl.seed_everything(0, verbose=False); m = Module()
    loader = torch.utils.data.DataLoader([{"image": torch.rand(3, 8, 8)} for _ in range(8)], batch_size=4)
    pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks)).fit(m, loader)
    return m

if __name__ == "__main__":
    plain, attacks = run(), {eps: PGD(ThreatModel(eps=eps), steps=2) for eps in (0.0, 8 / 255)}
    for mode in ("replace", "dual"):
        same = run(AdversarialTraining(attacks[0.0], mode=mode, views=["first", "second"]))
        if any(not torch.equal(a, b) for a, b in zip(plain.seen, same.seen)) or mode == "replace" and any(not torch.equal(a, b) for a, b in zip(plain.parameters(), same.parameters())):
            print("WRONG: eps 0 changes the training", mode); sys.exit(1)
    moved = (run(AdversarialTraining(attacks[8 / 255], views=["first", "second"])).seen[0] - plain.seen[0]).abs()
    print("moved", moved.flatten(1).amax(1) * 255)
    sys.exit(0 if 7.9 / 255 < float(moved.flatten(1).amax(1).min()) and float(moved.max()) < 8.01 / 255 else 1)
