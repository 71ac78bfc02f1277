"""Generation: sequences join and leave a running batch at every token."""

import logging
import time
from collections.abc import Callable
from collections.abc import Sequence as Several

import torch

from headrace.errors import HeadraceError, InferenceFailed, OutOfMemory, describe
from headrace.sdk.generation.blocks import BLOCK_SIZE, Blocks, blocks_of
from headrace.sdk.generation.cache import KVCache
from headrace.sdk.generation.model import PagedModel
from headrace.sdk.generation.sampling import choose
from headrace.sdk.generation.sequence import Finished, FinishReason, Request, Sequence

logger = logging.getLogger(__name__)

#: Seconds for which shorter sequences may join before one for which there is no room.
PATIENCE = 5.0


class Generation:
    """Runs requests on a model; one thread uses it.

    Each `step` is one forward pass: a token of each sequence that generates, and as many of those that join as
    `step_tokens` leaves room for.
    """

    def __init__(
        self,
        model: PagedModel,
        *,
        blocks: int,
        most: int,
        step_tokens: int,
        ends: Several[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing runs.

        Args:
            model: What generates.
            blocks: Blocks of the KV cache, of `BLOCK_SIZE` tokens.
            most: Sequences that run at once.
            step_tokens: Tokens of one pass.
            ends: Tokens that end a text.
            clock: Monotonic seconds.
        """
        self._model = model
        self._most = most
        self._step_tokens = max(step_tokens, most)
        self._ends = frozenset(ends)
        self._clock = clock
        self._cache = KVCache(model.kv_shape, blocks=blocks, block_size=BLOCK_SIZE)
        self._blocks = Blocks(blocks)
        #: In the order of their arrival.
        self._running: list[Sequence] = []
        self._waiting: list[Sequence] = []
        #: Since when the first that waits has found no room.
        self._held_up: float | None = None

    def add(self, key: int, request: Request) -> None:
        """Line a request up; if the cache is too small for it even alone, a step ends it with OutOfMemory."""
        self._waiting.append(Sequence(key=key, request=request, tokens=list(request.prompt)))

    def cancel(self, key: int, reason: FinishReason = "cancelled") -> Finished | None:
        """End a sequence with what there is; its blocks are free at once. None if it is not here."""
        sequence = next((each for each in self._all if each.key == key), None)
        if sequence is None:
            return None
        self._leave(sequence)
        return sequence.finished(reason)

    @property
    def keys(self) -> list[int]:
        """Of all that runs or waits."""
        return [each.key for each in self._all]

    @property
    def progress(self) -> dict[int, int]:
        """How many tokens were generated of each."""
        return {each.key: len(each.generated) for each in self._all}

    @property
    def free_blocks(self) -> int:
        """Blocks that no sequence has."""
        return self._blocks.free

    @property
    def blocks(self) -> int:
        """All blocks."""
        return self._blocks.count

    @property
    def wanted(self) -> int:
        """Blocks with which as many could run as may, to their ends."""
        return sum(blocks_of(each.longest) for each in self._all[: self._most])

    @property
    def least(self) -> int:
        """Blocks that the longest of all needs even alone."""
        return max((blocks_of(each.longest) for each in self._all), default=0)

    def resize(self, blocks: int) -> None:
        """Have another number of blocks: who runs keeps what is cached, as far as there is room, the oldest first."""
        target = Blocks(blocks)
        moved: list[tuple[Sequence, list[int]]] = []
        for sequence in list(self._running):
            if len(sequence.blocks) <= target.free:
                taken = target.take(len(sequence.blocks), promise=blocks_of(sequence.longest))
                moved.append((sequence, taken))
        kept = {id(sequence) for sequence, _ in moved}
        for sequence in [each for each in reversed(self._running) if id(each) not in kept]:
            self._preempt(sequence)
        before = [block for sequence, _ in moved for block in sequence.blocks]
        self._cache.resize(blocks, before, [block for _, taken in moved for block in taken])
        self._blocks = target
        for sequence, taken in moved:
            sequence.blocks = taken

    @property
    def _all(self) -> list[Sequence]:
        return [*self._running, *self._waiting]

    # -- steps

    def step(self) -> list[Finished]:
        """One forward pass; what has ended with it."""
        giants = self._end_giants()
        self._admit()
        counts = self._count_tokens()
        return giants + (self._run(list(counts), list(counts.values())) if counts else [])

    def _admit(self) -> None:
        for sequence in list(self._waiting):
            if len(self._running) >= self._most:
                return
            if self._has_room(sequence):
                self._join(sequence)
            elif not self._may_be_passed(sequence):
                return

    def _has_room(self, sequence: Sequence) -> bool:
        # One block each for those that run: else the next token would throw somebody out.
        return blocks_of(len(sequence.tokens)) + len(self._running) <= self._blocks.free or not self._running

    def _may_be_passed(self, sequence: Sequence) -> bool:
        if sequence is not self._waiting[0]:
            return True
        if self._held_up is None:
            self._held_up = self._clock()
        return self._clock() - self._held_up < PATIENCE

    def _join(self, sequence: Sequence) -> None:
        if sequence is self._waiting[0]:
            self._held_up = None
        self._waiting.remove(sequence)
        sequence.blocks = self._blocks.take(blocks_of(len(sequence.tokens)), promise=blocks_of(sequence.longest))
        self._running.append(sequence)

    def _count_tokens(self) -> dict[Sequence, int]:
        """Tokens of each sequence in this pass: those that generate first, then those that join."""
        for sequence in list(self._running):
            self._extend(sequence)
        left = self._step_tokens
        counts: dict[Sequence, int] = {}
        for sequence in sorted(self._running, key=lambda each: each.missing > 1):
            if count := min(sequence.missing, left):
                counts[sequence] = count
                left -= count
        return counts

    def _extend(self, sequence: Sequence) -> None:
        """Give a sequence the block for its next token; the youngest makes room if there is none."""
        while sequence in self._running and len(sequence.blocks) < blocks_of(len(sequence.tokens)):
            if block := self._blocks.extend(sequence.blocks):
                sequence.blocks += block
            else:
                self._preempt(self._running[-1])

    def _preempt(self, sequence: Sequence) -> None:
        self._leave(sequence)
        sequence.cached, sequence.blocks = 0, []
        self._waiting.insert(0, sequence)

    def _leave(self, sequence: Sequence) -> None:
        if sequence in self._waiting:
            self._waiting.remove(sequence)
            return
        self._running.remove(sequence)
        self._blocks.give_back(sequence.blocks)

    def _run(self, sequences: list[Sequence], counts: list[int]) -> list[Finished]:
        """Run a pass; whoever makes it fail is found by halves, and fails alone."""
        try:
            logits = self._model.run(self._cache, sequences, counts)
        except Exception as error:  # noqa: BLE001 - a model may raise anything; who is to blame is told
            if len(sequences) == 1:
                return [self._failed(sequences[0], error)]
            logger.warning("a pass over %d sequences failed: halves of it run: %s", len(sequences), describe(error))
        else:
            return self._take_in(sequences, counts, logits)
        # Outside the except block, which would keep alive what the pass had.
        middle = len(sequences) // 2
        first = self._run(sequences[:middle], counts[:middle])
        return first + self._run(sequences[middle:], counts[middle:])

    def _take_in(self, sequences: list[Sequence], counts: list[int], logits: torch.Tensor) -> list[Finished]:
        finished: list[Finished] = []
        for sequence, count, row in zip(sequences, counts, logits, strict=True):
            sequence.cached += count
            if sequence.missing == 0:
                self._append(sequence, row)
                if reason := self._ended(sequence):
                    self._leave(sequence)
                    finished.append(sequence.finished(reason))
        return finished

    def _append(self, sequence: Sequence, logits: torch.Tensor) -> None:
        params = sequence.request.params
        token = choose(logits, params, len(sequence.tokens))
        sequence.tokens.append(token)
        if params.logprobs is not None:
            shares = torch.log_softmax(logits.float(), -1)
            best = torch.topk(shares, params.logprobs)
            told = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
            sequence.logprobs.append((float(shares[token]), told))

    def _ended(self, sequence: Sequence) -> FinishReason | None:
        generated = sequence.generated
        if generated[-1] in self._ends or sequence.request.is_stop(generated):
            return "stop"
        return "length" if len(generated) >= sequence.request.params.max_tokens else None

    # -- failures

    def _failed(self, sequence: Sequence, error: Exception) -> Finished:
        failure = error if isinstance(error, HeadraceError) else InferenceFailed(describe(error))
        if failure is not error:
            failure.__cause__ = error
        return self._end(sequence, failure)

    def _end(self, sequence: Sequence, error: HeadraceError) -> Finished:
        self._leave(sequence)
        return sequence.finished("stop", error)

    def _end_giants(self) -> list[Finished]:
        """Once nothing runs, those that wait for more blocks than there are."""
        if self._running:
            return []
        giants = [each for each in self._waiting if blocks_of(each.longest) > self._blocks.count]
        return [self._end(each, self._too_large(each)) for each in giants]

    def _too_large(self, sequence: Sequence) -> OutOfMemory:
        size = self._model.kv_shape.token_bytes * BLOCK_SIZE / 2**20
        return OutOfMemory(
            f"the prompt and max_tokens need {blocks_of(sequence.longest) * size:,.1f} MiB of KV cache, and there are "
            f"{self._blocks.count * size:,.1f}: shorten one of them, or use a larger device"
        )
