ALTER TABLE "one_time_tokens" DROP CONSTRAINT "one_time_tokens_token_hash_unique";--> statement-breakpoint
ALTER TABLE "one_time_tokens" DROP CONSTRAINT "one_time_tokens_user_id_purpose_pk";--> statement-breakpoint
ALTER TABLE "one_time_tokens" ADD PRIMARY KEY ("token_hash");--> statement-breakpoint
CREATE INDEX "one_time_tokens_of_user" ON "one_time_tokens" USING btree ("user_id","purpose");