"""What the monitor page and the report draw into images."""

import cv2

from kinema.chunk import Image


def caption(image: Image, text: str) -> None:
    """White letters with a dark rim in the upper left corner of `image`, in place."""
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(image, text, (8, 20), cv2.FONT_HERSHEY_DUPLEX, 0.5, colour, width, cv2.LINE_AA)
