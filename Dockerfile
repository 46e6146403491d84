# The same commands on ROS 2 Jazzy from apt. Written from the scripts that are tested; this file itself has not been built:
# the machines it was developed on have no Docker. In particular, numpy 2 (which Kinema's OpenCV needs) beside the message
# packages of Ubuntu's numpy 1.26 has not been tried; tools/setup.sh checks it and says so if they do not fit.
#   docker build -t kinema .                          docker build --build-arg GPU_INDEX=ADDRESS -t kinema:gpu .
#   docker run --rm -it --shm-size=2g --cap-add=SYS_NICE --ulimit memlock=-1 -p 127.0.0.1:8080:8080 kinema
#     (add --gpus all for the GPU variant; SYS_NICE lets what keeps 500 Hz go before everything else)
# Images travel through shared memory, one 64 MB segment a node: Docker's default of 64 MB in all is too little.
FROM ros:jazzy

ARG GPU_INDEX=
SHELL ["/bin/bash", "-c"]
WORKDIR /kinema

RUN apt-get update \
    && apt-get install -y --no-install-recommends ros-jazzy-rviz2 ros-jazzy-tf2-msgs ros-jazzy-rmw-fastrtps-cpp make \
    && rm -rf /var/lib/apt/lists/*

COPY . .
RUN . /opt/ros/jazzy/setup.bash && make setup

# CUDA comes with torch's own wheel; TensorRT from the index that NVIDIA documents, whose address is the argument.
RUN if [ -n "$GPU_INDEX" ]; then \
        .venv/bin/python -m pip install --extra-index-url "$GPU_INDEX" tensorrt-cu13 onnxruntime-gpu; \
    fi

ENTRYPOINT ["/ros_entrypoint.sh"]
CMD ["make", "deploy"]
