package gateway

import "google.golang.org/protobuf/encoding/protowire"

// lastFieldOne reads a message as the protobuf library does: of several fields
// 1 the last counts.
func lastFieldOne(data []byte) (string, bool) {
	name := ""
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return "", false
		}
		data = data[n:]
		if number == 1 && kind == protowire.BytesType {
			value, n := protowire.ConsumeBytes(data)
			if n < 0 {
				return "", false
			}
			name = string(value)
		}
		if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
			return "", false
		}
		data = data[n:]
	}
	return name, true
}
