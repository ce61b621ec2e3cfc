"""The console command `netwright`."""
