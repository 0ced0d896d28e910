"""The command `lightly-adv`: pretrain, finetune, evaluate, demo."""
