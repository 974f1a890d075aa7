"""An engine whose frames are made on the caller's thread, and a clock that the test moves."""

from fractions import Fraction

from lipstream.live.compositor import make_compositor
from lipstream.live.conversation import Conversation
from lipstream.live.frame_source import PreparedAvatar
from lipstream.live.pipeline import Pipeline
from lipstream.live.session import SessionHandle


class VirtualClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class InlineWorker:
    """Opens sessions like ``Worker``; each frame is made ``making_s`` after its sound is there."""

    def __init__(self, model, clock) -> None:
        self.model, self.clock = model, clock
        self.painted = 0
        self.making_s = 0.0
        self._session = None

    def open_session(self, avatar, *, rate, fps=Fraction(25), on_frame, most_late_ms=None):
        prepared = PreparedAvatar.prepare(avatar, self.model)
        timing = self.model.timing(rate, fps)
        pipeline = Pipeline(prepared, timing, make_compositor(self.model))
        self._session = SessionHandle(self, pipeline, self._made(on_frame), most_late_ms)
        return self._session

    def _made(self, on_frame):
        def made(frame):
            self.clock.now += self.making_s
            on_frame(frame)
            self.clock.now -= self.making_s

        return made

    def post(self, command):
        command()

    def remove(self, session):
        pass

    def enqueue(self, session):
        serving = True
        while serving:
            if session.advance():
                self.painted += session.request.mel is not None
                session.make_frame(self.model)
            serving = session.release()


class Talk:
    """A conversation that is run in virtual time."""

    def __init__(self, model, avatar, settings=None):
        self.clock = VirtualClock()
        self.worker = InlineWorker(model, self.clock)
        self.conversation = Conversation(self.worker, avatar, settings, clock=self.clock)

    def run(self, seconds):
        """Let time pass; return what was due in it."""
        end, items = self.clock.now + seconds, []
        while True:
            items += self.conversation.advance()
            due = max(self.conversation.next_due, self.clock.now + 1e-4)
            if due > end:
                self.clock.now = end
                return items
            self.clock.now = due
