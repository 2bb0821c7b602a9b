package budget

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"heron/internal/fetch"
)

// Five megabytes on two a day take until the second midnight: each day goes on where the one before ended, from a real server.
func TestADownloadOverThreeDays(t *testing.T) {
	data := bytes.Repeat([]byte("heron in the reeds. "), 5*mib/20)
	sum := sha256.Sum256(data)
	url := server(t, data)
	path := filepath.Join(t.TempDir(), "model")
	d := newDevice(t, Config{PerDay: 2 * mib, PerMonth: 1 << 30})
	days := 0
	for ; ; days++ {
		c, err := fetch.New(fetch.Config{Hosts: []string{url}, AllowLoopbackHTTP: true, Budget: d.b})
		if err != nil {
			t.Fatal(err)
		}
		err = c.File(t.Context(), fetch.Request{URLs: []string{url}, Path: path, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])})
		got := c.Stats()
		c.Close()
		if got.Received > 2*mib || got.Restarted > 0 || days > 0 && got.Resumed != 1 {
			t.Errorf("day %d: %+v", days, got)
		}
		if err == nil {
			break
		}
		var spent *fetch.BudgetError
		if !errors.As(err, &spent) || !strings.HasSuffix(err.Error(), "goes on at 00:00") || spent.Wait <= 0 || days > 3 {
			t.Fatalf("day %d: %v", days, err)
		}
		d.pass(spent.Wait)
		d.end() // and heron is started anew every midnight
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) || days != 2 {
		t.Errorf("%d bytes after %d midnights, %v", len(got), days, err)
	}
	if at := noon.Add(36 * time.Hour); !d.wall.Equal(at) {
		t.Errorf("it is %v, want %v", d.wall, at)
	}
}
