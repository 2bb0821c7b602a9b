package message

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed schema/*.json
var schemas embed.FS

// SchemaNames lists the schemas that are shipped: one for each stream that has records, envelope, and one for each document: state, info, desired, reported, cmd, res.
func SchemaNames() []string {
	files, _ := fs.Glob(schemas, "schema/*.json") // the pattern is good
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".json")
	}
	return files
}

// Schema is the JSON Schema (2020-12) of that name. Readers are to ignore fields it does not name.
func Schema(name string) ([]byte, error) {
	b, err := schemas.ReadFile("schema/" + name + ".json")
	if err != nil {
		return nil, fmt.Errorf("there is no schema %q; there are %s", name, strings.Join(SchemaNames(), ", "))
	}
	return b, nil
}
