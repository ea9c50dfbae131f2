// daprd with one component, the lock store on Redis: all components together take an hour to build.
package main

import (
	"github.com/dapr/components-contrib/lock/redis"
	"github.com/dapr/dapr/cmd/daprd/app"
	lock "github.com/dapr/dapr/pkg/components/lock"
)

func main() {
	lock.DefaultRegistry.RegisterComponent(redis.NewStandaloneRedisLock, "redis")
	app.Run()
}
