"""Diffusion Policy, the baseline: the same data, head and sampler as the video policy, and no video.

Chi et al. 2023, "Diffusion Policy: Visuomotor Policy Learning via Action Diffusion", its CNN variant, as in appendix
A.3 of "Video Generators are Robot Policies": an encoder of its own for each camera, the text beside them.
"""
