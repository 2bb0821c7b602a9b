package uplink

import (
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// A whole topic can be listened to, and what an earlier process left can be deleted; the last documents come before the last state.
func TestMosquittoWholeTopicsAndDeletions(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "")
	w := watch(t, m.address, "#")
	other := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + m.address).SetClientID("other"))
	if tk := other.Connect(); !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
		t.Fatal(tk.Error())
	}
	defer other.Disconnect(50)
	other.Publish("old/one", 1, true, "left").WaitTimeout(10 * time.Second)
	var got atomic.Pointer[string]
	var word atomic.Pointer[string]
	word.Store(new(string))
	conf := config("tcp://" + m.address)
	conf.Subscribe = []string{"/homeassistant/status"}
	conf.Handle = func(m Message) { s := m.Topic + " " + string(m.Payload); got.Store(&s) }
	conf.Documents = func() []Document {
		return []Document{{Topic: "old/one", Retained: true, Absolute: true}, {Topic: "health", Payload: []byte("up" + *word.Load()), Retained: true}}
	}
	u := run(t, conf, newBox(t), func(t *timing) { t.info = time.Hour })
	u.state(StateOnline)
	eventually(t, "deleted", func() bool { return w.count("old/one") == 1 })
	other.Publish("homeassistant/status", 1, false, "online").WaitTimeout(10 * time.Second)
	eventually(t, "heard", func() bool { s := got.Load(); return s != nil && *s == "/homeassistant/status online" })
	down := ", no more"
	word.Store(&down)
	u.end()
	eventually(t, "the last word", func() bool { return w.count("health up, no more") == 1 })
}
