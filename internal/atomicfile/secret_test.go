package atomicfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecret(t *testing.T) {
	for content, want := range map[string]string{"s3cret\n": "s3cret", "s3cret\r\n": "s3cret", "s3cret": "s3cret", " s3 cret\n": " s3 cret"} {
		if got, err := Secret(secretFile(t, content)); got != want || err != nil {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
	for content, want := range map[string]string{"": "is empty", "\r\n": "is empty", "\xef\xbb\xbfs3cret\n": "byte order mark", "\xff\xfes\x003\x00": "byte order mark"} {
		if got, err := Secret(secretFile(t, content)); got != "" || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
}

func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
