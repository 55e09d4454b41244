# `make image` builds this with docker, podman or buildah; so does `make image DEVICE=gpu`.
#
# Two stages: the first has compilers and builds .venv with Horovod from the locks and scripts/setup
# alone, so that no other change repeats any of it; the second takes .venv and adds the sources.
ARG BASE=docker.io/library/debian:12

FROM ${BASE} AS environment
ARG DEVICE=cpu
# A site's own mirror of the package index.
ARG PIP_INDEX_URL=https://pypi.org/simple
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        g++ make openssh-client python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/cloudmask
COPY requirements-${DEVICE}.lock requirements-build*.lock ./
COPY scripts/setup scripts/setup
# Gloo crashes where a host does not know its own name, as under buildah's chroot isolation; setup
# tries Gloo. TensorFlow's headers were of use to Horovod's build alone.
RUN (getent hosts "$(hostname)" || echo "127.0.0.1 $(hostname)" >> /etc/hosts) \
    && python3 scripts/setup/setup.py --device ${DEVICE} --image \
    && rm -rf .venv/logs .venv/lib/python3*/site-packages/tensorflow/include

FROM ${BASE}
# sshd, which no container starts by itself, is for `cloudmask-host`: ranks in several containers.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        openssh-client openssh-server python3 \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* \
    && useradd --create-home --uid 1001 --shell /bin/bash cloudmask \
    && install --directory --owner cloudmask --group cloudmask /data
WORKDIR /opt/cloudmask
COPY --from=environment /opt/cloudmask/.venv .venv
COPY . .
# Compiled now, because its user may not write here; readable whatever the builder's umask was.
RUN find . -path ./.venv -prune -o -exec chmod a+rX {} + \
    && .venv/bin/python -m pip install --disable-pip-version-check --root-user-action ignore \
        --no-index --no-deps --no-build-isolation --editable . \
    && .venv/bin/python -m compileall -q cloudmask scaling seaice \
    && ln -s ../../train_hvd.py ../../jobs/cloudmask-host .venv/bin/ \
    && cp jobs/ssh_config /etc/ssh/ssh_config.d/cloudmask.conf

# OPAL_PREFIX: the Open MPI in .venv was compiled for another folder, and a host's launcher starts
# programs without its mpirun. Containers forbid the system call behind the single copy.
ENV PATH=/opt/cloudmask/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    OPAL_PREFIX=/opt/cloudmask/.venv \
    OMPI_MCA_btl_vader_single_copy_mechanism=none
# With GPUs, all that is needed of the host: libcuda and nvidia-smi, which its runtime puts in.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
ARG COMMIT
ENV CLOUDMASK_COMMIT=${COMMIT}
LABEL org.opencontainers.image.title=cloudmask \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.revision=${COMMIT}
# A number, so that Kubernetes can see that it is not root.
USER 1001
WORKDIR /data
CMD ["cloudmask", "--help"]
