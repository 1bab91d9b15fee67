"""The plain way: transformers' `generate`, then a hand-written PPO-clip step in torch. Started by run.py."""

from __future__ import annotations

import sys

from protocol import Server, check_tokens, clock, quickest, read_job, toy_reward, work_done

server = Server()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import transformers  # noqa: E402

job = read_job(sys.argv[1])
torch.set_num_threads(job.threads)
torch.manual_seed(job.seed)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EPSILON = 1e-4  # of the standard deviation of rewards


def finish() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class System:
    def __init__(self):
        self.reset()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(job.model)
        # Left-padded prompts; where all have the same length there is no mask at all.
        width = job.prompt_tokens.shape[1]
        self.prompts = torch.full((job.prompts, width), job.pad_id)
        for row, tokens, n in zip(self.prompts, job.prompt_tokens, job.prompt_lengths, strict=True):
            row[width - n :] = torch.tensor(tokens[:n])
        lengths = torch.tensor(job.prompt_lengths)[:, None]
        self.prompt_mask = (torch.arange(width) >= width - lengths).long().to(DEVICE)
        self.padded = bool((lengths < width).any())
        self.prompts = self.prompts.to(DEVICE)

    def reset(self) -> None:
        """The weights of the folder and a fresh optimizer."""
        self.model = self.optimizer = None
        dtype = getattr(torch, job.dtype)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype).to(DEVICE)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=job.lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, fused=True
        )

    def sequences(self, tokens):
        """Response tokens int `[B, T]` -> whole rows `[B, L + T]`."""
        rows = self.prompts.repeat_interleave(job.samples, 0)
        return torch.cat([rows, torch.as_tensor(np.asarray(tokens), dtype=torch.long).to(DEVICE)], 1)

    def logps(self, part, rows, width: int):
        """Log-probabilities `[b, T]` of the last `width` columns; the head runs on those positions only."""
        inputs = {"input_ids": rows}
        if self.padded:
            mask = self.prompt_mask.repeat_interleave(job.samples, 0)[part]
            mask = F.pad(mask, (0, width), value=1)  # columns past a response's end are after all others
            inputs |= {"attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        logits = self.model(**inputs, logits_to_keep=width + 1, use_cache=False).logits[:, :-1]
        logits = logits.float() if job.temperature == 1 else logits.float() / job.temperature
        targets = rows[:, -width:].flatten()
        return -F.cross_entropy(logits.flatten(0, 1), targets, reduction="none").view(-1, width)

    def parts(self, micro_batch: int):
        starts = range(0, job.prompts * job.samples, micro_batch)
        return [slice(start, start + micro_batch) for start in starts]

    @torch.no_grad()
    def rollout(self):
        """(whole rows `[B, L + T]`, response lengths `[B]`, the end token included)."""
        self.model.eval()
        rows = self.model.generate(
            input_ids=self.prompts, attention_mask=self.prompt_mask, do_sample=True, top_k=0, top_p=1.0,
            temperature=job.temperature, max_new_tokens=job.new_tokens, num_return_sequences=job.samples,
            eos_token_id=job.stop_ids, pad_token_id=job.pad_id,
        )  # fmt: skip
        tokens = rows[:, self.prompts.shape[1] :]
        ends = torch.isin(tokens, torch.tensor(job.stop_ids, device=DEVICE))
        lengths = torch.where(ends.any(1), ends.int().argmax(1) + 1, tokens.shape[1])
        finish()
        return rows, lengths

    def advantages(self, rows, lengths):
        tokens = rows[:, self.prompts.shape[1] :].tolist()
        cut = [row[:n] for row, n in zip(tokens, lengths.tolist(), strict=True)]
        reward = torch.tensor(toy_reward(self.tokenizer.batch_decode(cut, skip_special_tokens=True)))
        reward = reward.view(-1, job.samples)
        centred = reward - reward.mean(1, keepdim=True)
        return (centred / (reward.std(1, keepdim=True) + EPSILON)).flatten().to(DEVICE)

    def update(self, rows, lengths, advantages):
        """One AdamW step over all rows; on-policy, so the old log-probabilities are the current ones."""
        width = rows.shape[1] - self.prompts.shape[1]
        mask = torch.arange(width, device=DEVICE) < lengths[:, None]
        self.model.train()
        self.optimizer.zero_grad()
        for part in self.parts(job.micro_batch):
            logp, advantage = self.logps(part, rows[part], width), advantages[part, None]
            ratio = torch.exp(logp - logp.detach())
            clipped = ratio.clamp(1 - job.clip_eps, 1 + job.clip_eps)
            losses = -torch.minimum(ratio * advantage, clipped * advantage)
            ((losses * mask[part]).sum() / mask.sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        finish()

    def step(self) -> dict:
        def whole():
            rollout_s, (rows, lengths) = clock(self.rollout)
            advantages = self.advantages(rows, lengths)
            return rollout_s, clock(lambda: self.update(rows, lengths, advantages))[0], rows, lengths

        step_s, (rollout_s, update_s, rows, lengths) = clock(whole)
        if not job.stops:
            check_tokens(job, rows[:, self.prompts.shape[1] :].cpu())
        return {"rollout": rollout_s, "update": update_s, "step": step_s, **work_done(lengths.cpu())}

    @torch.no_grad()
    def score(self) -> dict:
        self.model.eval()

        def whole():
            rows = self.sequences(job.probe)
            parts = self.parts(job.score_micro_batch)
            return torch.cat([self.logps(p, rows[p], job.new_tokens) for p in parts]).cpu()

        seconds, logp = clock(whole)
        mask = np.arange(job.new_tokens) < job.probe_lengths[:, None]
        mean = float(logp.numpy()[mask].mean(dtype=np.float64))
        return {"score": seconds, "probe_logp": mean, **work_done(job.probe_lengths)}

    def agree(self, file: str, out: str) -> dict:
        """The folder's weights after one update on recorded rollouts."""
        self.reset()
        with np.load(file) as given:
            lengths = torch.tensor(given["lengths"], device=DEVICE)
            advantages = torch.tensor(given["advantages"][:, 0], device=DEVICE)
            self.update(self.sequences(given["tokens"]), lengths, advantages)
        np.savez(out, **{n: x.detach().cpu().numpy() for n, x in self.model.named_parameters()})
        return {}

    def ceilings(self) -> dict:
        size = 2048 if DEVICE == "cpu" else 8192
        a = torch.ones(size, size, dtype=getattr(torch, job.dtype), device=DEVICE)
        big, out = torch.zeros(2, 2**26, device=DEVICE)
        return {
            "flops": 2 * size**3 / quickest(lambda: (a @ a, finish())),
            "bytes": 2 * big.nbytes / quickest(lambda: (torch.add(big, 1, out=out), finish())),
        }


system = System()
server.send(
    versions={"torch": torch.__version__, "transformers": transformers.__version__},
    device=torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
)
server.serve({name: getattr(system, name) for name in ("score", "step", "agree", "ceilings")})
