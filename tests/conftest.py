"""What holds for every test: a law is searched without a clock, since the machine may be busy with something else."""

from hypothesis import HealthCheck, settings

settings.register_profile("payout", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("payout")
