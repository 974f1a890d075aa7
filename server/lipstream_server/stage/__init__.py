"""What an avatar hears and says in the server, apart from how it is sent.

Here belong the stage, its members and their messages, the texts it speaks, and who has the floor.
How sound and pictures travel is ``webrtc``'s and ``outputs``'; when they are due, the engine's.
"""
