"""Jobs that workers pull, each done by one of them: ``python -m examples.pull_worker work``, in several processes.

``… add FILE…`` asks for the checksum of each file. The job of a worker that died is another's after half a minute. A
file that cannot be read is tried three times; ``… dead`` lists what was given up, and ``… again`` puts it back, once
the reason is gone.
"""

import asyncio
import hashlib
import signal
import sys
from pathlib import Path

from eventpipe import Event, EventLog
from eventpipe.stores import SqliteStore

TASKS = 4  # of each process


async def work(log: EventLog) -> None:
    """Do one job after the other until this is cancelled; what is in hand then is given back unharmed."""
    async with log.receiver("files", "checksums", competing=True, ttl=30, max_attempts=3) as receiver:
        async for delivery in receiver:
            async with delivery:  # acked at its end; nacked by an error of anything but the file
                path = Path(delivery.event.properties["path"])
                try:
                    content = await asyncio.to_thread(path.read_bytes)
                except OSError as error:
                    await delivery.nack(delay=0.2 * delivery.attempt, reason=f"{path}: {error.strerror}")
                else:
                    sys.stdout.write(f"{hashlib.sha256(content).hexdigest()}  {path}\n")
                    sys.stdout.flush()


async def work_until_terminated(log: EventLog) -> None:
    is_terminated = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_terminated.set)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(log)) for _ in range(TASKS)]
        await is_terminated.wait()
        for task in tasks:
            task.cancel()


async def main(command: str = "", *files: str) -> None:
    async with EventLog(SqliteStore("jobs.db", shared=True)) as log:
        await log.add_consumer("files", "checksums")  # also before there is a worker: jobs wait for one
        match command:
            case "add":
                await log.append_many("files", [Event("added", properties={"path": file}) for file in files])
            case "work":
                await work_until_terminated(log)
            case "dead":
                for letter in await log.dead_letters("files", "checksums"):
                    sys.stdout.write(f"{letter.attempts} attempts  {letter.error}\n")
            case "again":
                replayed = await log.replay_dead_letters("files", consumer="checksums")
                sys.stdout.write(f"{len(replayed)} jobs are open again\n")
            case _:
                sys.exit("say add FILE..., work, dead or again")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
