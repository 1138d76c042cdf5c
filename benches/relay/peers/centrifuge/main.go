// A room server on the library centrifuge: what one client sends, the members of its path's channel get.
package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/centrifugal/centrifuge"
)

type room struct{}

func roomOf(ctx context.Context) string {
	name, _ := ctx.Value(room{}).(string)
	return name
}

func main() {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(ctx context.Context, _ centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{},
			Subscriptions: map[string]centrifuge.SubscribeOptions{roomOf(ctx): {}},
		}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		channel := roomOf(client.Context())
		client.OnMessage(func(event centrifuge.MessageEvent) {
			if _, err := node.Publish(channel, event.Data); err != nil {
				log.Print(err)
			}
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	sockets := centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{})
	enter := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sockets.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), room{}, r.URL.Path)))
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), enter))
}
