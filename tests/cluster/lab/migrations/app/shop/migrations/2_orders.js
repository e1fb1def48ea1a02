exports.up = (knex) => knex.schema.createTable('orders', (table) => { table.increments('id'); table.integer('user'); });
exports.down = (knex) => knex.schema.dropTable('orders');
