"""Video Policy: a video U-Net imagines what the cameras will see, a small action U-Net reads its features.

Liang et al. 2025, "Video Generators are Robot Policies".
"""
