# Requests from Python with pymongo: MONGODB_URI=… python requests.py
import os
from datetime import datetime, timedelta, timezone

from pymongo import DESCENDING, MongoClient
from pymongo.errors import DuplicateKeyError

client = MongoClient(os.environ["MONGODB_URI"])
requests = client.get_default_database().sync_requests  # of the database that the URI names

HOLDS_KEY = [None, "pending", "running", "succeeded", "partial", "coalesced"]
ENDED = ["succeeded", "partial", "failed", "cancelled", "coalesced"]

# Insert
request_id = requests.insert_one({"command": "syncByIds", "ids": ["cus_1"]}).inserted_id


# Insert once, however often the producer tries
def insert_once(dedupe_key, request):
    # Just these statuses: MongoDB then finds it by its index.
    held = {"dedupeKey": dedupe_key, "status": {"$in": HOLDS_KEY}}
    try:
        # None: it is there already.
        return requests.update_one(held, {"$setOnInsert": request}, upsert=True).upserted_id
    except DuplicateKeyError:
        return None  # another one was quicker


deletion_id = insert_once("invoice-7", {"command": "softDelete", "stripeId": "cus_none"})


# Wait for the end
def ended(_id, timeout=timedelta(minutes=1)):
    until = datetime.now() + timeout
    end = {"documentKey._id": _id, "fullDocument.status": {"$in": ENDED}}
    with requests.watch([{"$match": end}], full_document="updateLookup") as stream:
        # Looked for once the stream is open, which misses nothing from there on.
        found = requests.find_one({"_id": _id, "status": {"$in": ENDED}})
        while found is None and stream.alive and datetime.now() < until:
            change = stream.try_next()
            found = change and change["fullDocument"]
    if found is None:
        raise TimeoutError(f"Request {_id} has not ended within {timeout}; it goes on")
    return found


request = ended(request_id)
print("inserted", request["status"], request["result"]["items"])

# Cancel
an_hour = datetime.now(timezone.utc) + timedelta(hours=1)
later_id = requests.insert_one({"command": "syncAll", "runAt": an_hour}).inserted_id
requests.update_one({"_id": later_id}, {"$set": {"cancel": True}})
print("cancelled", ended(later_id)["status"])


# Retry
def retry(_id):
    over = {"_id": _id, "status": {"$in": ["partial", "failed", "cancelled"]}}
    # DuplicateKeyError: its dedupeKey was taken meanwhile
    return requests.update_one(over, {"$set": {"status": "pending"}}).matched_count == 1


ended(deletion_id)
print("retried", retry(deletion_id), ended(deletion_id)["error"]["code"])

# List failures
failed = {"status": {"$in": ["failed", "partial"]}}
for each in requests.find(failed).sort("_id", DESCENDING).limit(10):
    print("failure", each["command"], each.get("error", {}).get("code"), each.get("attempts", 0))

client.close()
