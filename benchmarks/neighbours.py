"""The nine nearest references of every voxel, exactly: against faiss, and all products at once."""

import torch
from torch.nn.functional import normalize
from turns import Row, in_turns, peak, peer

from ssltut.methods.matching.primitives import nearest

K, D = 9, 32


def rows() -> list[Row]:
    faiss = peer("faiss")
    found = []
    for n, r in ((5_000, 3_000), (20_000, 12_000)):
        generator = torch.Generator().manual_seed(0)
        query, bank = (torch.randn(m, D, generator=generator) for m in (n, r))

        def plain(query: torch.Tensor = query, bank: torch.Tensor = bank) -> torch.Tensor:
            return (normalize(query, dim=1) @ normalize(bank, dim=1).T).topk(K, dim=1).indices

        before = peak()
        index = nearest(query, bank, K)[1]
        memory = peak() - before
        contestants = {"ours": lambda q=query, b=bank: nearest(q, b, K)}
        if faiss:
            faiss.omp_set_num_threads(1)

            def by_faiss(query: torch.Tensor = query, bank: torch.Tensor = bank) -> object:
                flat = faiss.IndexFlatIP(D)
                flat.add(normalize(bank, dim=1).numpy())
                return flat.search(normalize(query, dim=1).numpy(), K)

            contestants["faiss"] = by_faiss
        contestants["all products at once"] = plain
        exact = (
            (normalize(query.double(), dim=1) @ normalize(bank.double(), dim=1).T).topk(K).indices
        )
        notes = {
            "memory": f"+{memory:.0f} MiB",
            "as in float64": f"{(index == exact).float().mean():.6f} of all neighbours",
        }
        what = f"exact top-9, {n:,} voxels, {r:,} references"
        timings = in_turns(contestants, 5)
        found.append(Row(what, "1.1 of faiss, +64 MiB", timings, [] if faiss else ["faiss"], notes))
    return found
