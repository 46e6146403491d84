# make deploy   set up, then run the stack in the virtual cell: make deploy EPISODES=3 TASK=open_drawer ROBOT=virtual_xarm7
#               in another cell: make deploy CELL=launch/cells/virtual.yaml
# make record   set up, then record demonstrations with the handheld gripper: make record EPISODES=2 TASK=open_drawer
# make demonstrations  set up, then record them in lockstep: make demonstrations TASK=open_drawer N=200
# make pusht    the PushT benchmark's own environment, in .venv-pusht, which Kinema's doesn't know
# make test     set up, then lint, types and tests
SHELL := /bin/bash

EPISODES ?= 3
TASK ?= pick_and_place
ROBOT ?= virtual_ur5e
CELL ?=
POLICY ?=
MODE ?=
APPROVAL ?= false
SEED ?=
RECORD ?= false
HEADLESS ?=
TEXT ?=
OPERATOR ?=
N ?= 20

arguments = episodes:=$(EPISODES) task:=$(TASK) robot:=$(ROBOT) $(if $(CELL),cell:=$(CELL)) $(if $(POLICY),policy:=$(POLICY)) \
	$(if $(MODE),mode:=$(MODE)) \
	$(if $(SEED),seed:=$(SEED)) record:=$(RECORD) require_approval:=$(APPROVAL) \
	headless:=$(if $(filter-out 0 false,$(HEADLESS)),true,false)

recording = episodes:=$(EPISODES) $(if $(CELL),cell:=$(CELL)) scenario:=$(TASK) $(if $(SEED),seed:=$(SEED)) $(if $(TEXT),task:="$(TEXT)") \
	$(if $(OPERATOR),operator:="$(OPERATOR)") \
	headless:=$(if $(filter-out 0 false,$(HEADLESS)),true,false)

.PHONY: setup deploy record demonstrations pusht test test-all lint clean

setup:
	@tools/setup.sh

deploy: setup
	@. tools/env.sh && exec ros2 launch policy_bringup deploy.launch.py $(arguments)

record: setup
	@. tools/env.sh && exec ros2 launch recording handheld_demo.launch.py $(recording)

demonstrations: setup
	@. tools/env.sh && exec kinema demonstrations --task $(TASK) --episodes $(N) $(if $(SEED),--seed $(SEED))

pusht: .venv-pusht/made

.venv-pusht/made: requirements/pusht.txt
	env -u PYTHONPATH "$$(tools/pick_python.sh)" -m venv --clear .venv-pusht
	env -u PYTHONPATH .venv-pusht/bin/python -m pip install --no-deps --progress-bar off -q -r $<
	touch $@

lint: setup
	@. tools/env.sh && ruff format --check . && ruff check . && lint-imports && mypy

test: lint
	@tools/system_packages.sh --optional
	@. tools/env.sh && exec tools/test.sh 'not slow and not hardware'

test-all: lint
	@tools/system_packages.sh --optional
	@. tools/env.sh && exec tools/test.sh 'not hardware'

clean:
	rm -rf .setup .venv .venv-pusht ros2_ws/build ros2_ws/install ros2_ws/log
