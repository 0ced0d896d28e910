"""The command `lightly-adv`: pretrain, finetune, evaluate, doctor, demo."""
