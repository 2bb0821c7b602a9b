package command

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// What a restart interrupts ends failed, but for what ends by it; what was not begun is canceled; the disk knows each time.
func TestInterrupted(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		n := 0
		acts := []Act{counting("diag", &n, time.Hour), {Type: "restart", Returns: true, Do: func(context.Context, json.RawMessage, func(string, int)) (any, error) { return nil, nil }}, reboot(&n)}
		crash := func(d *device) { // as a power cut leaves it: what is in the file now
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			d.stop()
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		d := start(t, path, nil, acts...).run()
		d.command("diag", "a")
		synctest.Wait()
		d.command("ping", "b")
		crash(d)
		d = start(t, path, nil, acts...).run()
		d.want("diag/a failed interrupted, ping/b canceled restarted")
		d.command("restart", "c")
		synctest.Wait()
		d.stop()
		time.Sleep(10 * time.Minute)
		d = start(t, path, nil, acts...).run()
		d.want("restart/c succeeded")
		d.command("reboot", "d")
		synctest.Wait()
		d.stop()
		time.Sleep(10 * time.Minute)
		d = start(t, path, nil, acts...).run() // heron came back, in the same boot
		d.want("reboot/d failed interrupted")
		time.Sleep(10 * time.Minute)
		d.command("diag", "e")
		synctest.Wait()
		d.stop() // cleanly: it is told before the end
		d.want("reboot/d failed interrupted, diag/e accepted, diag/e running, diag/e failed interrupted")
		d = start(t, path, nil, acts...).run()
		d.want("diag/e failed interrupted") // it may not have left the device
		d.stop()
	})
}

func TestRestartThatDoesNotCome(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		n := 0
		d := start(t, path, nil, reboot(&n)).run()
		defer d.stop()
		d.command("reboot", "a")
		time.Sleep(2 * time.Minute)
		d.command("ping", "b")
		d.want("reboot/a accepted, reboot/a running, reboot/a failed timeout, ping/b accepted, ping/b running, ping/b succeeded")
	})
}

// Nothing is begun that could not be remembered.
func TestDiskThatDoesNotKeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone", "commands.log")
	synctest.Test(t, func(t *testing.T) {
		d := start(t, path, nil).run()
		defer d.stop()
		d.command("ping", "a")
		d.want("ping/a rejected not-kept")
		if d.Stats().Trouble == "" {
			t.Error("no trouble told")
		}
		if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		d.command("ping", "a")
		d.want("ping/a rejected not-kept, ping/a accepted, ping/a running, ping/a succeeded")
	})
}

func TestAnswersWaitForRoom(t *testing.T) {
	path := journalPath(t)
	synctest.Test(t, func(t *testing.T) {
		d := start(t, path, nil).run()
		defer d.stop()
		d.mu.Lock()
		d.room = false
		d.mu.Unlock()
		d.command("ping", "a")
		synctest.Wait()
		d.mu.Lock()
		d.room = true
		d.mu.Unlock()
		time.Sleep(2 * time.Second)
		d.want("ping/a accepted, ping/a running, ping/a succeeded")
	})
}
