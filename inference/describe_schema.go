package inference

import _ "embed"

//go:embed schema/manifest.schema.json
var manifestSchema string

// ManifestSchema is the JSON Schema (2020-12) of manifest.json, for editors and for other programs. ParseManifest is stricter where a schema
// cannot be: no key and no file twice, golden answers and thresholds name labels.
func ManifestSchema() []byte { return []byte(manifestSchema) }
