"""lipstream as a server: sessions, stages, WebRTC and the studio behind one ASGI app.

Here belongs what needs an event loop, a socket or a visitor. What a face does with sound is the
engine's; what the browser runs lies in ``lipstream_clients.web``.
"""
