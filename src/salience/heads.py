"""Heads and teachers for a training of one's own: small networks on a representation, slow copies of a network.

from salience.heads import head

projector = head(512, 512, 128)  # [n 512] -> [n 128]
"""

from salience.nets.heads import head
from salience.nets.teacher import distance, follow, teacher_of

__all__ = ["distance", "follow", "head", "teacher_of"]
