# The image for those who build with an engine. The binary comes from outside,
# static and reproducible: `make binary`, then `docker build .` here.
# Without an engine, `make image` gives an archive with the same content.
FROM scratch
COPY target/image/convene /convene
USER 65532:65532
ENTRYPOINT ["/convene"]
