"""What methods with a teacher declare about its health."""

from __future__ import annotations

from salience.warning_signs import Ordinary, Sign

LEFT_BEHIND = Sign(  # a teacher is to be what the student was a while ago, not something else
    ("teacher_distance",),
    "the student and its teacher have diverged",
    "their weights differ by {teacher_distance:.2f} of the student's length",
    "lower --learning-rate, or --momentum",
    "teacher",
    above=0.5,
)
STILL_TEACHER = Ordinary(
    "momentum", off=1, what="the teacher never moves", change="give a --momentum below 1, such as 0.996", kind="teacher"
)
