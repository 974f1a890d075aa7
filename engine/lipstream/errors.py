"""The errors a user can meet. Every message says what was asked, what was found, and what to do.

LipstreamError
├── InputError            a value, file or message from outside is not usable
│   ├── MediaError        a sound, picture or video cannot be read or written
│   └── FaceNotFound      there is no face where one is needed
├── ModelError            a checkpoint, ONNX file or manifest is missing, corrupt or another
├── AvatarError           an avatar pack is missing, corrupt or of another version
├── BackendUnavailable    a backend asked for by name cannot run here
└── ServerError           the server cannot start
    ├── AtCapacity        there is no place for one more session
    └── EngineFailed      the engine, or a session of it, ended by a fault or is closed
"""


class LipstreamError(Exception):
    """Base of every error lipstream raises on purpose; the text is fit to show to a user."""


class InputError(LipstreamError):
    """A value, file or message from outside is not usable."""


class MediaError(InputError):
    """A sound, picture or video cannot be read or written."""


class FaceNotFound(InputError):
    """There is no face where one is needed."""


class ModelError(LipstreamError):
    """A checkpoint, ONNX file or manifest is missing, corrupt or of another network."""


class AvatarError(LipstreamError):
    """An avatar pack is missing, corrupt or of another version."""


class BackendUnavailable(LipstreamError):
    """A backend asked for by name cannot run here."""


class ServerError(LipstreamError):
    """The server cannot start."""


class AtCapacity(ServerError):
    """There is no place for one more session."""


class EngineFailed(ServerError):
    """The engine, or a session of it, ended by a fault or is closed."""
