"""UVA: one transformer over what is seen and done, from which two small diffusion heads read video and actions.

Li et al. 2025, "Unified Video Action Model".
"""
