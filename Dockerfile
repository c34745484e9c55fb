# docker build -t onnx-compressor .
# docker run --rm -v "$PWD:/models" onnx-compressor prune model.onnx --ratio 0.5
# For training: docker build --build-arg EXTRAS='[tune,report]' ...
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY compressor compressor
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
ARG EXTRAS="[report]"
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)${EXTRAS}" && rm -rf /wheels \
    && useradd --create-home user
USER user
WORKDIR /models
ENTRYPOINT ["onnx-compress"]
CMD ["--help"]
