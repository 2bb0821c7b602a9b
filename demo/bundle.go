package demo

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed bundle
var bundle embed.FS

// Bundle is the model bundle that the demo runs: manifest.json, model.onnx, labels.txt, baseline.json and golden pictures.
func Bundle() fs.FS {
	sub, err := fs.Sub(bundle, "bundle")
	if err != nil {
		panic(err) // the name is a constant and valid
	}
	return sub
}

// WriteBundle writes the bundle into dir, which must not exist.
func WriteBundle(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("write the demo's model bundle: %w", err)
	}
	if err := os.CopyFS(filepath.Clean(dir), Bundle()); err != nil {
		return fmt.Errorf("write the demo's model bundle: %w", err)
	}
	return nil
}
