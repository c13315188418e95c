-- wrk posts what our adapter posts: the same form to the same path. BODY comes from the environment.
wrk.method = "POST"
wrk.path = os.getenv("BENCHMARK_PATH")
wrk.body = os.getenv("BENCHMARK_BODY")
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
wrk.headers["Authorization"] = os.getenv("BENCHMARK_AUTHORIZATION")
