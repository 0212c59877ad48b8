"""An operator at a terminal: sees plans, approves them by their number, stops the arm."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TextIO

from robowm.dispatch.online.approvals import Card
from robowm.dispatch.online.dispatcher import Dispatcher
from robowm.dispatch.record.records import Event, Kind, Record

HELP = """\
  3        approve plan-00003, if it is offered
  n        decline what is offered
  e        emergency stop      r  reset, after it or after a hold
  h        hold                s  how things stand
  p        start the planner anew
  q        end\
"""
TOLD = {
    Kind.STATE, Kind.PLANNER, Kind.ESTOP, Kind.RESET, Kind.EXPIRED, Kind.EPISODE, Kind.RESULT,
}  # fmt: skip


class Terminal:
    """Reads a line at a time from ``lines``, writes to ``out``; shows the cards that are offered.

    Args:
      quit: called when the operator ends the run, or the lines do.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        lines: TextIO,
        out: TextIO,
        quit: Callable[[], None],
    ):
        self._dispatcher, self._lines, self._out, self._quit = dispatcher, lines, out, quit
        dispatcher.approvals.viewers.append(self.show)
        dispatcher.listen(self)

    def start(self) -> None:
        """Serve from a thread that ends with the program."""
        self._say(HELP)
        threading.Thread(target=self.serve, daemon=True, name="terminal").start()

    def serve(self) -> None:
        for line in self._lines:
            if answer := self.obey(line.strip()):
                self._say(answer)
        self._quit()

    def obey(self, word: str) -> str:
        """Do what one line asks for; returns what to say."""
        dispatcher, approvals = self._dispatcher, self._dispatcher.approvals
        if word in ("e", "estop"):
            dispatcher.estop()
            return "stopped"
        if word.removeprefix("plan-").isdecimal():
            return approvals.approve(f"plan-{int(word.removeprefix('plan-')):05d}")[1]
        if word == "n":
            card = approvals.pending
            return approvals.reject(card.plan_id)[1] if card else "nothing is offered"
        orders: dict[str, Callable[[], None]] = {
            "r": dispatcher.reset,
            "h": dispatcher.hold,
            "p": dispatcher.restart_planner,
            "q": self._quit,
        }
        if word in orders:
            orders[word]()
            return ""
        return self._status() if word == "s" else HELP

    def show(self, card: Card) -> None:
        """A card that is offered."""
        number = int(card.plan_id.removeprefix("plan-"))
        self._say("\n".join([*card.lines(), f"  {number} approves it, n declines it"]))

    def __call__(self, record: Record) -> None:
        """A listener of the run."""
        if isinstance(record, Event) and record.kind in TOLD:
            self._say(f"{record.kind}: {record.message}" if record.message else record.kind)

    def _status(self) -> str:
        s = self._dispatcher.status()
        return (
            f"{s.mode}, {s.state} {s.reason}\n"
            f"  {s.steps} steps, {s.plans} plans, {s.sent} sent, {s.rejections} refused, {s.holds} holds\n"
            f"  planning {1e3 * s.latency_p50_s:.0f} ms (99%: {1e3 * s.latency_p99_s:.0f}), "
            f"{s.lead_steps} steps ahead, {s.deadline_misses} deadlines missed\n"
            f"  observation {1e3 * s.observation_age_s:.0f} ms old"
        )

    def _say(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()
