"""Dreamitate: a stereo video of the tool at work is imagined, the tool is tracked in it, and the arm leads it that way.

Liang et al. 2024, "Dreamitate: Real-World Visuomotor Policy Learning via Video Generation". Here is what makes chunks
of tracked poses; the tracking is `kinema.perception.stereo_tool`.
"""
