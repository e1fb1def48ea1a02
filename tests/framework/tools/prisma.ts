// The adapter of this version does not know PostgreSQL's type `name` (19), which is a text (25).
import { PrismaPg } from '@prisma/adapter-pg'
import Result from 'pg/lib/result.js'
const addFields = Result.prototype.addFields
Result.prototype.addFields = function (fields) {
  for (const field of fields) if (field.dataTypeID === 19) field.dataTypeID = 25
  addFields.call(this, fields)
}
