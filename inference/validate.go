package inference

import "fmt"

// Validate checks what can be checked without the files; errors name the field.
func (m *Manifest) Validate() error {
	if m.V != 1 {
		return fmt.Errorf("manifest.json: v is %d; this Heron reads 1", m.V)
	}
	return nil
}
