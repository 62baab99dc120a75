// Requests from Go with the MongoDB driver v2: MONGODB_URI=… go run requests.go
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Request is as much of a document of sync_requests as this program reads.
type Request struct {
	ID       any    `bson:"_id"`
	Command  string `bson:"command"`
	Status   string `bson:"status"`
	Attempts int64  `bson:"attempts"`
	Error    struct {
		Code    string `bson:"code"`
		Message string `bson:"message"`
	} `bson:"error"`
	Result struct {
		Items []struct {
			ID      string `bson:"id"`
			Outcome string `bson:"outcome"`
			Code    string `bson:"code"`
		} `bson:"items"`
	} `bson:"result"`
}

var holdsKey = bson.A{nil, "pending", "running", "succeeded", "partial", "coalesced"}
var ended = bson.A{"succeeded", "partial", "failed", "cancelled", "coalesced"}

// Insert once, however often the producer tries
func insertOnce(ctx context.Context, requests *mongo.Collection, dedupeKey string, request bson.M) (any, error) {
	// Just these statuses: MongoDB then finds it by its index.
	held := bson.M{"dedupeKey": dedupeKey, "status": bson.M{"$in": holdsKey}}
	updated, err := requests.UpdateOne(ctx, held, bson.M{"$setOnInsert": request}, options.UpdateOne().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) {
		return nil, nil // another one was quicker
	}
	if err != nil {
		return nil, err
	}
	return updated.UpsertedID, nil // nil: it is there already
}

// Wait for the end
func wait(ctx context.Context, requests *mongo.Collection, id any) (request Request, err error) {
	end := bson.M{"documentKey._id": id, "fullDocument.status": bson.M{"$in": ended}}
	stream, err := requests.Watch(ctx, mongo.Pipeline{{{Key: "$match", Value: end}}},
		options.ChangeStream().SetFullDocument(options.UpdateLookup))
	if err != nil {
		return request, err
	}
	defer stream.Close(context.WithoutCancel(ctx))
	// Looked for once the stream is open, which misses nothing from there on.
	err = requests.FindOne(ctx, bson.M{"_id": id, "status": bson.M{"$in": ended}}).Decode(&request)
	if err != mongo.ErrNoDocuments {
		return request, err
	}
	if !stream.Next(ctx) {
		return request, fmt.Errorf("request %v has not ended in time, it goes on: %w", id, stream.Err())
	}
	var change struct {
		FullDocument Request `bson:"fullDocument"`
	}
	err = stream.Decode(&change)
	return change.FullDocument, err
}

// Cancel
func cancel(ctx context.Context, requests *mongo.Collection, id any) error {
	_, err := requests.UpdateByID(ctx, id, bson.M{"$set": bson.M{"cancel": true}})
	return err
}

// Retry
func retry(ctx context.Context, requests *mongo.Collection, id any) (bool, error) {
	over := bson.M{"_id": id, "status": bson.M{"$in": bson.A{"partial", "failed", "cancelled"}}}
	updated, err := requests.UpdateOne(ctx, over, bson.M{"$set": bson.M{"status": "pending"}})
	if err != nil {
		return false, err // mongo.IsDuplicateKeyError(err): its dedupeKey was taken meanwhile
	}
	return updated.MatchedCount == 1, nil
}

// List failures
func failures(ctx context.Context, requests *mongo.Collection) (found []Request, err error) {
	failed := bson.M{"status": bson.M{"$in": bson.A{"failed", "partial"}}}
	newest := options.Find().SetSort(bson.D{{Key: "_id", Value: -1}}).SetLimit(10)
	cursor, err := requests.Find(ctx, failed, newest)
	if err != nil {
		return nil, err
	}
	return found, cursor.All(ctx, &found)
}

func main() {
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	client, err := mongo.Connect(options.Client().ApplyURI(os.Getenv("MONGODB_URI")))
	check(err)
	defer client.Disconnect(context.WithoutCancel(ctx))
	requests := client.Database("stripe").Collection("sync_requests")

	// Insert
	inserted, err := requests.InsertOne(ctx, bson.M{"command": "syncByIds", "ids": bson.A{"cus_1"}})
	check(err)

	deletion := bson.M{"command": "softDelete", "stripeId": "cus_none"}
	deletionID, err := insertOnce(ctx, requests, "invoice-7", deletion)
	check(err)
	request, err := wait(ctx, requests, inserted.InsertedID)
	check(err)
	fmt.Println("inserted", request.Status, request.Result.Items)

	later, err := requests.InsertOne(ctx, bson.M{"command": "syncAll", "runAt": time.Now().Add(time.Hour)})
	check(err)
	check(cancel(ctx, requests, later.InsertedID))
	request, err = wait(ctx, requests, later.InsertedID)
	check(err)
	fmt.Println("cancelled", request.Status)

	_, err = wait(ctx, requests, deletionID)
	check(err)
	again, err := retry(ctx, requests, deletionID)
	check(err)
	request, err = wait(ctx, requests, deletionID)
	check(err)
	fmt.Println("retried", again, request.Error.Code)

	found, err := failures(ctx, requests)
	check(err)
	for _, each := range found {
		fmt.Println("failure", each.Command, each.Error.Code, each.Attempts)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
