// daprd with one component, the lock store on Redis: with all its components it takes an hour to build.
// After cmd/daprd/app of dapr/dapr v1.14, which insists on all of them.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/dapr/components-contrib/lock/redis"
	"github.com/dapr/components-contrib/nameresolution/mdns"
	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/buildinfo"
	locks "github.com/dapr/dapr/pkg/components/lock"
	resolvers "github.com/dapr/dapr/pkg/components/nameresolution"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/metrics"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/runtime"
	"github.com/dapr/dapr/pkg/runtime/registry"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/kit/concurrency"
	"github.com/dapr/kit/logger"
	"github.com/dapr/kit/signals"
)

func main() {
	opts, err := options.New(os.Args[1:])
	if err != nil {
		log.Fatal(err)
	}
	if opts.RuntimeVersion {
		fmt.Println(buildinfo.Version())
		return
	}
	if err := logger.ApplyOptionsToLoggers(&opts.Logger); err != nil {
		log.Fatal(err)
	}
	ctx := signals.Context()
	health := healthz.New()
	provider, err := security.New(ctx, security.Options{
		ControlPlaneTrustDomain: opts.ControlPlaneTrustDomain,
		ControlPlaneNamespace:   opts.ControlPlaneNamespace,
		AppID:                   opts.AppID,
		Mode:                    modes.DaprMode(opts.Mode),
		Healthz:                 health,
	})
	if err != nil {
		log.Fatal(err)
	}
	serve := func(ctx context.Context) error {
		handler, err := provider.Handler(ctx)
		if err != nil {
			return err
		}
		config := configure(opts)
		config.Security = handler
		config.Healthz = health
		config.Metrics = metrics.Options{Enabled: false, Log: logger.NewLogger("dapr"), Port: opts.Metrics.Port(), Healthz: health}
		daprd, err := runtime.FromConfig(ctx, config)
		if err != nil {
			return err
		}
		return daprd.Run(ctx)
	}
	if err := concurrency.NewRunnerManager(provider.Run, serve).Run(ctx); err != nil {
		log.Fatal(err)
	}
}

func configure(opts *options.Options) *runtime.Config {
	contrib := logger.NewLogger("dapr.contrib")
	locks.DefaultRegistry.Logger = contrib
	locks.DefaultRegistry.RegisterComponent(redis.NewStandaloneRedisLock, "redis")
	resolvers.DefaultRegistry.Logger = contrib
	resolvers.DefaultRegistry.RegisterComponent(mdns.NewResolver, "mdns")
	components := registry.NewOptions().
		WithLocks(locks.DefaultRegistry).
		WithNameResolutions(resolvers.DefaultRegistry)
	return &runtime.Config{
		AppID:                         opts.AppID,
		ActorsService:                 opts.ActorsService,
		RemindersService:              opts.RemindersService,
		SchedulerAddress:              opts.SchedulerAddress,
		AllowedOrigins:                opts.AllowedOrigins,
		ResourcesPath:                 opts.ResourcesPath,
		AppProtocol:                   opts.AppProtocol,
		Mode:                          opts.Mode,
		DaprHTTPPort:                  opts.DaprHTTPPort,
		DaprInternalGRPCPort:          opts.DaprInternalGRPCPort,
		DaprInternalGRPCListenAddress: opts.DaprInternalGRPCListenAddress,
		DaprAPIGRPCPort:               opts.DaprAPIGRPCPort,
		DaprAPIListenAddresses:        opts.DaprAPIListenAddresses,
		ApplicationPort:               opts.AppPort,
		ProfilePort:                   opts.ProfilePort,
		AppMaxConcurrency:             opts.AppMaxConcurrency,
		MaxRequestSize:                opts.MaxRequestSize,
		ReadBufferSize:                opts.ReadBufferSize,
		DaprGracefulShutdownSeconds:   opts.DaprGracefulShutdownSeconds,
		DisableBuiltinK8sSecretStore:  true,
		AppHealthProbeInterval:        opts.AppHealthProbeInterval,
		AppHealthProbeTimeout:         opts.AppHealthProbeTimeout,
		AppHealthThreshold:            opts.AppHealthThreshold,
		AppChannelAddress:             opts.AppChannelAddress,
		Registry:                      components,
	}
}
