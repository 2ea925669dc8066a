// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package build

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nobody runs the program: a number, for there is no user database in the image.
const nobody = "65532:65532"

// writeImage makes an OCI layout with an image of one program for each platform
// of Linux. There is the program in it and nothing else: no shell, no libraries,
// no base image of others. The layer is not compressed: how gzip compresses may
// change with a compiler's version. The SHA-256 of index.json is the image's
// digest.
func writeImage(dir, command string, binaries map[string]string, s *source, repository string) ([32]byte, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, platform := range sortedKeys(binaries) {
		goos, goarch, _ := strings.Cut(platform, "/")
		if goos != "linux" {
			continue
		}
		program, err := os.ReadFile(binaries[platform])
		if err != nil {
			return [32]byte{}, err
		}
		layer, err := layerOf(command, program, s.time)
		if err != nil {
			return [32]byte{}, err
		}
		img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		if img, err = mutate.AppendLayers(img, static.NewLayer(layer, types.OCIUncompressedLayer)); err != nil {
			return [32]byte{}, err
		}
		file, err := img.ConfigFile()
		if err != nil {
			return [32]byte{}, err
		}
		file = file.DeepCopy()
		file.OS, file.Architecture, file.Created, file.History = goos, goarch, v1.Time{Time: s.time}, nil
		file.Config = v1.Config{Entrypoint: []string{"/" + command}, User: nobody, Labels: map[string]string{
			"org.opencontainers.image.source": repository, "org.opencontainers.image.revision": s.commit, "org.opencontainers.image.version": s.tag}}
		if img, err = mutate.ConfigFile(img, file); err != nil {
			return [32]byte{}, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: goos, Architecture: goarch}}})
	}
	if _, err := layout.Write(dir, index); err != nil {
		return [32]byte{}, err
	}
	return fileDigest(filepath.Join(dir, "index.json"))
}

// layerOf is a tar of one file.
func layerOf(name string, program []byte, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(program)), Mode: 0o755, ModTime: at, Format: tar.FormatUSTAR}); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}
