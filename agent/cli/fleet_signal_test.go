package cli

import (
	"encoding/json"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"

	"heron/sync/fleet"
)

// rollout is the newest document of the group's rollout, as it comes.
func (p *paddock) rollout() func() fleet.Rollout {
	var mu sync.Mutex
	var last fleet.Rollout
	p.client.Subscribe("heron/v1/acme/_all/rollout", 1, func(_ paho.Client, m paho.Message) {
		mu.Lock()
		defer mu.Unlock()
		last = fleet.Rollout{}
		_ = json.Unmarshal(m.Payload(), &last)
	}).Wait()
	return func() fleet.Rollout {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

// Whatever ends a push says so on the broker: the next manager need not wait until the lease of one that is gone is over.
func TestFleetPushLeavesInOrder(t *testing.T) {
	t.Parallel()
	push := []string{"fleet", "push", "--group", "acme", "--model", "bottles/1.4.2", "--percent", "50,100", "--wait", "1h"}
	for _, end := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(end.String(), func(t *testing.T) {
			p := newPaddock(t, 4)
			now := p.rollout()
			c := command(append(push, "--broker", "mqtt://"+p.address)...)
			var errOut lockedBuffer
			c.Stderr = &errOut
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			p.until("it drives", func() bool { r := now(); return r.Owner.Driving && r.Seq >= 2 })
			_ = c.Process.Signal(end)
			_ = c.Wait()
			if c.ProcessState.ExitCode() != exitOK || !strings.Contains(errOut.String(), "heron: left where it is") {
				t.Errorf("exit %d: %s", c.ProcessState.ExitCode(), errOut.String())
			}
			p.until("it says that it has left", func() bool { return !now().Owner.Driving })
		})
	}
	t.Run("nobody reads", func(t *testing.T) {
		p := newPaddock(t, 4)
		now := p.rollout()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		c := command(append(push, "--broker", "mqtt://"+p.address)...)
		c.Stdout = w
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		_ = w.Close()
		_ = c.Wait()
		p.until("it says that it has left", func() bool { r := now(); return r.State == fleet.Running && !r.Owner.Driving })
	})
}
