"""A batch that is a list of single images (C, H, W), stacked inside training_step, as lightning-bolts' MoCo does with its collate function.

Right: the images are attacked, or there is a way (views=) to name them.
"""
import sys, torch, pytorch_lightning as pl
from lightly_adv import PGD, AdversarialTraining, ThreatModel

class Module(pl.LightningModule):
    def __init__(self):
        super().__init__(); self.net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2)); self.seen = []
    def training_step(self, batch, batch_idx):
        images, labels = batch
        x = torch.stack([torch.stack(pair) for pair in images])       # (B, 2, 3, H, W)
        self.seen.append(x.detach().clone())
        return self.net(x.flatten(0, 1)).square().mean()
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=0.1)

def run(**options):
    pl.seed_everything(0)
    data = [((torch.rand(3, 8, 8), torch.rand(3, 8, 8)), 0) for _ in range(4)]
    loader = torch.utils.data.DataLoader(data, batch_size=4, collate_fn=lambda s: tuple(zip(*s)))
    m = Module()
    cb = AdversarialTraining(PGD(ThreatModel(eps=8 / 255), steps=2), **options)
    pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[cb]).fit(m, loader)
    clean = torch.stack([torch.stack(pair) for pair, _ in data])
    return float((m.seen[-1] - clean).abs().max())

if __name__ == "__main__":
    flat = lambda batch: [p for pair in batch[0] for p in pair]
    why = []
    for options in ({}, {"views": flat}):
        try:
            if run(**options) > 4 / 255: sys.exit(0)
            why.append("nothing was perturbed")
        except Exception as e: why.append(f"{type(e).__name__}: {e}"); print(options and "views=function", "->", why[-1])
    print("NO WAY: a batch of unstacked images (C, H, W) is refused, and so is the views= function that the message recommends"); sys.exit(1)
