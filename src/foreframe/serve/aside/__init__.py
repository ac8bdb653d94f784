"""Work that is done aside, by processes of their own: uploads decoded, exports written.

What comes from somebody else is decoded by C libraries that have had, and will have, faults. The
process that runs them holds nothing but one upload, can open neither file nor socket, and ends
with it.
"""
