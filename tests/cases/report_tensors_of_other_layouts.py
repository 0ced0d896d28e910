"""Buffers that are not dense float tensors: sparse adjacency, CSR, float8, quantised."""
import sys, logging, warnings, torch, pytorch_lightning as pl
from torch import nn
from lightly_adv import PGD, AdversarialTraining, ThreatModel
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")
KINDS = {"sparse COO": lambda: torch.eye(4).to_sparse(), "sparse CSR": lambda: torch.eye(4).to_sparse_csr(),
         "float8": lambda: torch.zeros(4).to(torch.float8_e4m3fn),
         "quantised": lambda: torch.quantize_per_tensor(torch.rand(4), 0.1, 0, torch.quint8)}

class Module(pl.LightningModule):
    def __init__(self, value):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
        self.register_buffer("extra", value)
    def forward(self, x): return self.net(x)
    def training_step(self, batch, batch_idx): return nn.functional.cross_entropy(self(batch[0]), batch[1])
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), 0.1)

loader = torch.utils.data.DataLoader([(torch.rand(3, 8, 8), i % 4) for i in range(8)], batch_size=4)
options = dict(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
attack, wrong = PGD(ThreatModel(eps=8 / 255), steps=2), []
for name, make in KINDS.items():
    pl.Trainer(**options).fit(Module(make()), loader)  # works
    for verify in ("first_batch", "off"):
        try: pl.Trainer(callbacks=[AdversarialTraining(attack, verify=verify)], **options).fit(Module(make()), loader)
        except Exception as error: wrong.append(f"{name} (verify={verify})"); print(wrong[-1], type(error).__name__, str(error)[:90])
sys.exit(print("WRONG: crashes where plain training works:", "; ".join(wrong)) or 1 if wrong else print("right"))
